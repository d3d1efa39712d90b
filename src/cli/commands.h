/* commands.h - the commands; each lives in a file of its own and states its flags and help there.
 */
#ifndef GANTRY_CLI_COMMANDS_H
#define GANTRY_CLI_COMMANDS_H

#include "cli.h"

extern const struct gt_command gt_cmd_deploy, gt_cmd_ls, gt_cmd_get, gt_cmd_call, gt_cmd_logs,
	gt_cmd_ps, gt_cmd_rm, gt_cmd_events, gt_cmd_nodes, gt_cmd_node, gt_cmd_doctor,
	gt_cmd_version, gt_cmd_help, gt_cmd_completion, gt_cmd_image, gt_cmd_bundle,
	gt_cmd_simulate, gt_cmd_explain, gt_cmd_gpu, gt_cmd_calls, gt_cmd_schedule,
	gt_cmd_providers, gt_cmd_webhook;

#endif
