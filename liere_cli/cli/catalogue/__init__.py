"""Commands that list what there is: encodings and data sets."""
