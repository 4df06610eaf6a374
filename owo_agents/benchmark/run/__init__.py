"""Playing the cells of a suite, here or elsewhere, and keeping what they give."""
