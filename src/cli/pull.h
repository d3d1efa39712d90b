/* pull.h - an order whose answer is progress first and an image at the end. */
#ifndef GANTRY_CLI_PULL_H
#define GANTRY_CLI_PULL_H

#include "cli.h"

#define GT_PULL_TEXT 64
/* "12 of 40 MiB, 1 of 3 layers" of a view of how far a pull is. */
void gt_pull_text(const struct gt_value *v, char out[GT_PULL_TEXT]);

/* Sends and shows progress for `what`; prints the image's digest at the end. */
enum gt_exit gt_cli_pull(struct gt_cli *cli, struct gt_rest_request *req, const char *what);

#endif
