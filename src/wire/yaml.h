/* yaml.h - YAML to the same tree that JSON becomes, for documents of others. */
#ifndef GANTRY_WIRE_YAML_H
#define GANTRY_WIRE_YAML_H

#include "doc.h"

/* One document whose top is a mapping. Plain true, false, null and whole numbers are what JSON
 * calls them, all else is text. Refused, with the line: anchors, aliases and tags (nobody's devices
 * need them, and they can grow a document without bound), a key that is given twice, too deep
 * nesting, too many values. Slugs as of gt_doc_parse. */
GT_MUST_USE int gt_yaml_parse(const char *text, size_t len, size_t max, json_t **ret,
			      struct gt_err *err);

#endif
