"""Statistics of paired comparisons: functions on arrays that read no file and know no run.

samples           checked vectors, paired differences, mean and standard deviation
student           Student's t with one or several sources of error
paired            paired t test, sign flips, equivalence
holm              correction for many comparisons
power             detectable differences, and the seeds they take
sequential        interim analyses: error spending and futility
seed_correlation  correlation over seeds, and what pairing by seed saves
item_errors       the error that a finite test set adds
ratios            paired ratios on a logarithmic scale
learning_curves   scores at equal cost, and cost to an equal score
interaction       gains on one data set against gains on another
verdicts          a label for every comparison of a table
"""
