/* The terms of the loss once more in double precision. */
#include "tests/golden/test_losses.c"
