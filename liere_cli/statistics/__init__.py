"""Statistics of paired comparisons: functions on arrays that read no file and know no run.

samples           checked vectors, paired differences, mean and standard deviation
student           Student's t with several sources of error
correction        Holm, false discovery rate, and the intervals that agree with them
spread            spread over seeds, partly borrowed from other encodings
paired            moderated paired t test, sign flips, equivalence
scores            scores of a data set's encodings, pairs of them, failures
power             detectable differences, and the seeds they take
sequential        interim analyses: error spending and futility
seed_correlation  correlation over seeds, and what pairing by seed saves
item_errors       the error that a finite test set adds
verdicts          a label for every comparison of a table
ranking           all pairs of encodings, and the set that may hold the best
ratios            costs of equal scores, and gains on one data set against another
"""
