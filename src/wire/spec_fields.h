/* spec_fields.h - the tables of the function specification: base struct gt_spec. */
#ifndef GANTRY_WIRE_SPEC_FIELDS_H
#define GANTRY_WIRE_SPEC_FIELDS_H

#include "fields.h"

extern const struct gt_fields gt_spec_fields;

#endif
