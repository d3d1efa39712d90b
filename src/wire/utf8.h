/* utf8.h - what is UTF-8. */
#ifndef GANTRY_WIRE_UTF8_H
#define GANTRY_WIRE_UTF8_H

#include <gantry/base/base.h>

/* Bytes of the well-formed sequence of more than one byte at s, of which n are there; 0: none. */
size_t gt_utf8_len(const unsigned char *s, size_t n);
bool gt_utf8_ok(const char *text, size_t len);

#endif
