/* simulate.h - the simulations, each in a file of its own. */
#ifndef GANTRY_CLI_SIMULATE_H
#define GANTRY_CLI_SIMULATE_H

#include "cli.h"

enum gt_exit gt_simulate_place(struct gt_cli *cli);
enum gt_exit gt_simulate_scale(struct gt_cli *cli);
enum gt_exit gt_simulate_cluster(struct gt_cli *cli);
enum gt_exit gt_simulate_replay(struct gt_cli *cli);

/* A flag as a number; `def` when it was not given. Reports what is wrong: false. */
bool gt_simulate_u64(struct gt_cli *cli, const char *flag, uint64_t def, uint64_t least,
		     uint64_t most, uint64_t *ret);
/* The same for a decimal number above 0. */
bool gt_simulate_double(struct gt_cli *cli, const char *flag, double def, double most, double *ret);

struct gt_json;
/* Enough digits to compare, few enough to read. */
void gt_simulate_json_fixed(struct gt_json *j, const char *name, double value);
void gt_simulate_json_hash(struct gt_json *j, const char *name, uint64_t hash);
/* What --svg asks for. */
enum gt_exit gt_simulate_svg_write(struct gt_cli *cli, const char *file, const struct gt_buf *svg);

#endif
