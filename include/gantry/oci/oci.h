/* oci/oci.h - `gantry oci`: the command line of an OCI runtime over the runtime room's engine, so
 * that the conformance programs of others can judge it. No part of the product: hidden, root only,
 * one short-lived process a command and one resident process a container. */
#ifndef GANTRY_OCI_OCI_H
#define GANTRY_OCI_OCI_H

#include <stdio.h>

/* argv[0] is the first word behind `oci`. Answers go to out, refusals to err (and to the file of
 * --log). Returns the exit code: 0, 1 for a refusal, for `run` that of the program. */
int gt_oci_main(int argc, char **argv, FILE *out, FILE *err);

#endif
