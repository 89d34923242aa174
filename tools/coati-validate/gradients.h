/* gradients.h: a unit's derivatives against central differences in double. */
#ifndef TOOLS_COATI_VALIDATE_GRADIENTS_H
#define TOOLS_COATI_VALIDATE_GRADIENTS_H
#include "unit.h"
/* The unit has been opened. Largest error found, as a share of what is allowed; the tensor it was in to *where. */
int gradients_check(unit *u, double *worst, const char **where);
#endif
