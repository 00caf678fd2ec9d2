/* The whole tiny models once more in double precision. */
#include "tests/golden/test_models.c"
