"""Random crops, RandAugment, mixup and cutmix of training images, drawn from named streams."""
