/* What every processor of the family has; the compiler splits the vectors. */
#include "tables.h"

#define CT_TABLE ct_plain
#include "operations.inc"
