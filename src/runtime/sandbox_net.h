/* sandbox_net.h - the network that a sandbox is staged with. */
#ifndef GANTRY_RUNTIME_SANDBOX_NET_H
#define GANTRY_RUNTIME_SANDBOX_NET_H

#include <gantry/model/spec.h>
#include <gantry/net/net.h>
#include <gantry/runtime/init_proto.h>

struct gt_runtime;
struct gt_runtime_config;

struct sandbox_net {
	enum gt_network kind;
	bool leased; /* an address, by this process: an adopted one is held by its link alone */
	uint32_t slot;
};

/* `name`: of this daemon among those of the machine. */
int gt_sandbox_net_open(struct gt_runtime *rt, const struct gt_runtime_config *config,
			const char *name, struct gt_err *err);
/* -EPERM with the slug of a cause when the operator does not let functions have this network. */
int gt_sandbox_net_allowed(const struct gt_runtime *rt, enum gt_network kind, struct gt_err *err);
/* Fills in what process 1 is told. Egress takes an address, given back by the release; with `made`
 * the namespace is there, and its address taken. */
int gt_sandbox_net_stage(struct gt_runtime *rt, struct sandbox_net *n, bool made,
			 struct gt_init_stage *stage, struct gt_err *err);
/* 0 = it has no address. */
uint32_t gt_sandbox_net_slot(const struct sandbox_net *n);
void gt_sandbox_net_release(struct gt_runtime *rt, struct sandbox_net *n);

#endif
