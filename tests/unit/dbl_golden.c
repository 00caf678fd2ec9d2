/* The golden cases once more in double precision, where the tolerance is 2e-10. */
#include "tests/golden/test_ops.c"
