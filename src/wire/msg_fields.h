/* msg_fields.h - the tables of the messages between roles. */
#ifndef GANTRY_WIRE_MSG_FIELDS_H
#define GANTRY_WIRE_MSG_FIELDS_H

#include <gantry/wire/wire.h>

#include "fields.h"

extern const struct gt_fields gt_line_fields[GT_LINE_N]; /* base struct gt_line */
extern const struct gt_fields gt_report_fields;
extern const struct gt_fields gt_demand_fields;

#endif
