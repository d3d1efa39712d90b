/* node.h - `gantry node cdi`, apart from the verbs that are for the daemon. */
#ifndef GANTRY_SRC_CLI_NODE_H
#define GANTRY_SRC_CLI_NODE_H

#include "commands.h"

enum gt_exit gt_node_cdi(struct gt_cli *cli);

#endif
