"""Problems: parameters and a task's random numbers in, an outcome out."""
