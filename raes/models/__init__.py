"""Models of any size, trained by seeds alone: their noise is made where it is used, and no parameter travels."""
