"""Statistics of paired comparisons: functions on arrays that read no file and know no run.

samples           checked vectors, paired differences, mean and standard deviation
student           Student's t with several sources of error, Holm's correction
paired            paired t test, sign flips, equivalence
power             detectable differences, and the seeds they take
sequential        interim analyses: error spending and futility
seed_correlation  correlation over seeds, and what pairing by seed saves
item_errors       the error that a finite test set adds
learning_curves   scores at equal cost, and paired ratios of costs
interaction       gains on one data set against gains on another
verdicts          a label for every comparison of a table
"""
