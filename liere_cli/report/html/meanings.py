"""What the plots of a page mean, for readers who see one for the first time."""

DIFFERENCES = (
    "Each row compares an encoding with the baseline. The large marker is the mean difference "
    "over seeds, the bar its interval, and each small dot one seed: the encoding's score minus "
    "the baseline's at that seed. Where the interval excludes zero after correction, the verdict "
    "is 'better' or 'worse', and the marker is filled. A hollow marker means that the runs do not "
    "decide, which is not evidence of equality. Where the recipe sets a margin of equivalence, "
    "differences within it are shaded."
)
SEEDS = (
    "Every dot is the test score of one run. A grey line joins the runs of one seed, which share "
    "data order, initial weights and dropout. Where the lines are parallel, seeds shift all "
    "encodings alike, and comparing at equal seeds removes that shift. The black stroke is the "
    "mean."
)
CURVES = (
    "A thin line is one run; a thick one is the mean of an encoding's runs, over the range that "
    "all of them cover, and the band reaches from the lowest to the highest run. A cross is where "
    "a run diverged. Over steps, encodings are compared at equal updates; over seconds, at equal "
    "training time on the machine that trained them. Inside the budget the learning rate has not "
    "finished its decay, so a point of a curve is not the score of a shorter run. The gradient "
    "of an encoding is shown as its norm before clipping, over the norm of all gradients; "
    "training.clip says whether both are clipped together."
)
EFFICIENCY = (
    "How many times fewer steps or seconds an encoding needs to reach the baseline's final "
    "validation score: right of 1 it needs less. Each estimate is a geometric mean over seeds."
)
FRACTIONS = (
    "Scores after training on parts of the training split, with the same budget. A curve that is "
    "higher at the left has learned more from little data."
)
TRANSFER = (
    "Models are evaluated at other lengths or resolutions than those they were trained at, "
    "without further training. The dashed vertical line is the training grid. Dashed curves use a "
    "method of extension."
)
INTERACTION = (
    "Whether an encoding's gain over the baseline is larger on one data set, or with one setting, "
    "than on another. "
    "Gains are shares of the baseline's own gain over the control, so that metrics can be "
    "compared."
)
MAPS = (
    "How much a query attends to keys by position alone: the mean of q · k over random vectors q "
    "= k, or the bias that is added to the logits. The ring marks the query. Red is attraction "
    "and blue is repulsion. The first map is before training, the second after it; a difference "
    "between them is what the encoding's parameters have learned."
)
ITEMS = (
    "The share of test items on which the encoding does better or worse than the baseline, on "
    "average over seeds. A small mean difference can hide many wins and losses that cancel."
)
COMPUTE = (
    "Encodings are comparable where they used the same computation. Differences above 2% to the "
    "baseline are marked: a gain may then be bought with parameters, steps or data rather than "
    "come from the encoding."
)
