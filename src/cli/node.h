/* node.h - parts of `gantry node` with files of their own. */
#ifndef GANTRY_SRC_CLI_NODE_H
#define GANTRY_SRC_CLI_NODE_H

#include "commands.h"

enum gt_exit gt_node_cdi(struct gt_cli *cli);
enum gt_exit gt_node_token(struct gt_cli *cli); /* and tokens */

#endif
