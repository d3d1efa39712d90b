/* api/routes.c - the table of routes; a unit test holds it against docs/openapi.yaml, both ways. */
#include <gantry/model/task.h>

#include "api_priv.h"

#define FUNCTION        "/v1/functions/{function}"
#define CALL            "/v1/calls/{call}"
#define BATCH_BYTES_MAX (16 * GT_GIB) /* it is not collected */

const struct gt_http_route gt_api_routes[] = {
	{ GT_GET, "/v1/functions", GT_ROLE_TOKEN, 0, gt_api_list_functions, "listFunctions",
	  "list functions in name order" },
	{ GT_PUT, FUNCTION, GT_ROLE_TOKEN, GT_SPEC_BYTES_MAX, gt_api_put_function, "putFunction",
	  "create or change a function" },
	{ GT_GET, FUNCTION, GT_ROLE_TOKEN, 0, gt_api_get_function, "getFunction",
	  "show a function with its state" },
	{ GT_DELETE, FUNCTION, GT_ROLE_TOKEN, 0, gt_api_delete_function, "deleteFunction",
	  "delete a function" },
	{ GT_GET, FUNCTION "/revisions", GT_ROLE_TOKEN, 0, gt_api_list_revisions, "listRevisions",
	  "list the kept revisions" },
	{ GT_GET, FUNCTION "/revisions/{revision}", GT_ROLE_TOKEN, 0, gt_api_get_revision,
	  "getRevision", "show one revision" },
	{ GT_GET, FUNCTION "/replicas", GT_ROLE_TOKEN, 0, gt_api_list_replicas, "listReplicas",
	  "list replicas" },
	{ GT_GET, FUNCTION "/replicas/{replica}", GT_ROLE_TOKEN, 0, gt_api_get_replica,
	  "getReplica", "show one replica" },
	{ GT_DELETE, FUNCTION "/replicas/{replica}", GT_ROLE_TOKEN, 0, gt_api_delete_replica,
	  "deleteReplica", "drain one replica" },
	{ GT_GET, FUNCTION "/autoscaler/decisions", GT_ROLE_TOKEN, 0, gt_api_list_decisions,
	  "listDecisions", "explain why a function has its replicas" },
	{ GT_GET, FUNCTION "/autoscaler/shadow", GT_ROLE_TOKEN, 0, gt_api_get_shadow, "getShadow",
	  "what a candidate policy would have cost" },
	{ GT_GET, FUNCTION "/logs", GT_ROLE_TOKEN, 0, gt_api_get_logs, "getLogs",
	  "read what the replicas wrote" },
	{ GT_POST, FUNCTION "/calls", GT_ROLE_TOKEN, GT_TASK_BODY_MAX, gt_api_create_call,
	  "createCall", "make a durable call" },
	{ GT_GET, FUNCTION "/calls", GT_ROLE_TOKEN, 0, gt_api_list_function_calls,
	  "listFunctionCalls", "list the durable calls of a function" },
	{ GT_POST, FUNCTION "/batches", GT_ROLE_TOKEN, BATCH_BYTES_MAX, gt_api_create_batch,
	  "createBatch", "make many durable calls" },
	{ GT_GET, "/v1/calls", GT_ROLE_TOKEN, 0, gt_api_list_calls, "listCalls",
	  "list durable calls, newest first" },
	{ GT_PUT, CALL, GT_ROLE_TOKEN, GT_TASK_BODY_MAX, gt_api_put_call, "putCall",
	  "make a durable call with an id of one's own" },
	{ GT_GET, CALL, GT_ROLE_TOKEN, 0, gt_api_get_call, "getCall",
	  "show a durable call with its attempts" },
	{ GT_DELETE, CALL, GT_ROLE_TOKEN, 0, gt_api_cancel_call, "cancelCall",
	  "cancel a durable call" },
	{ GT_GET, CALL "/result", GT_ROLE_TOKEN, 0, gt_api_get_call_result, "getCallResult",
	  "what the function answered" },
	{ GT_GET, CALL "/events", GT_ROLE_TOKEN, 0, gt_api_follow_call, "followCall",
	  "follow a durable call to its end" },
	{ GT_POST, CALL "/replay", GT_ROLE_TOKEN, 0, gt_api_replay_call, "replayCall",
	  "run a call again that did not succeed" },
	{ GT_GET, "/v1/events", GT_ROLE_TOKEN, 0, gt_api_list_events, "listEvents",
	  "read or follow the log of events" },
	{ GT_GET, "/v1/nodes", GT_ROLE_TOKEN, 0, gt_api_list_nodes, "listNodes", "list nodes" },
	/* Before those of nodes: none is called like this. */
	{ GT_POST, "/v1/nodes/tokens", GT_ROLE_TOKEN, 4096, gt_api_create_token, "createJoinToken",
	  "make a token that lets one machine join" },
	{ GT_GET, "/v1/nodes/tokens", GT_ROLE_TOKEN, 0, gt_api_list_tokens, "listJoinTokens",
	  "list join tokens" },
	{ GT_DELETE, "/v1/nodes/tokens/{token}", GT_ROLE_TOKEN, 0, gt_api_delete_token,
	  "deleteJoinToken", "take a join token back" },
	{ GT_GET, "/v1/nodes/{node}", GT_ROLE_TOKEN, 0, gt_api_get_node, "getNode",
	  "show one node" },
	{ GT_POST, "/v1/nodes/{node}/gpus/{gpu}/clear", GT_ROLE_TOKEN, 0, gt_api_clear_gpu,
	  "clearGpu", "say that a GPU is well again" },
	{ GT_POST, "/v1/nodes/{node}/cordon", GT_ROLE_TOKEN, 0, gt_api_cordon_node, "cordonNode",
	  "let a node take no new replicas" },
	{ GT_POST, "/v1/nodes/{node}/uncordon", GT_ROLE_TOKEN, 0, gt_api_uncordon_node,
	  "uncordonNode", "let it take replicas again" },
	{ GT_POST, "/v1/nodes/{node}/drain", GT_ROLE_TOKEN, 0, gt_api_drain_node, "drainNode",
	  "move its replicas to other nodes" },
	{ GT_DELETE, "/v1/nodes/{node}", GT_ROLE_TOKEN, 0, gt_api_delete_node, "deleteNode",
	  "forget a node that is gone" },
	{ GT_GET, "/v1/models", GT_ROLE_NONE, 0, gt_api_list_models, "listModels",
	  "list the OpenAI models that functions serve" },
	{ GT_GET, "/v1/models/{model}", GT_ROLE_NONE, 0, gt_api_get_model, "getModel",
	  "show one model" },
	{ GT_GET, "/v1/images", GT_ROLE_TOKEN, 0, gt_api_list_images, "listImages",
	  "list the images that the node has" },
	{ GT_POST, "/v1/images/pull", GT_ROLE_TOKEN, 4096, gt_api_pull_image, "pullImage",
	  "get an image ahead of its first start" },
	{ GT_POST, "/v1/images/gc", GT_ROLE_TOKEN, 0, gt_api_collect_images, "collectImages",
	  "remove images that nobody uses" },
	{ GT_DELETE, "/v1/images/{digest}", GT_ROLE_TOKEN, 0, gt_api_delete_image, "deleteImage",
	  "remove one image" },
	{ GT_GET, "/v1/bundles/{digest}", GT_ROLE_TOKEN, 0, gt_api_get_bundle, "getBundle",
	  "how far the upload of a bundle came" },
	{ GT_PUT, "/v1/bundles/{digest}", GT_ROLE_TOKEN, GT_BUNDLE_PIECE_MAX, gt_api_put_bundle,
	  "putBundle", "upload a piece of a bundle" },
	{ GT_GET, "/v1/version", GT_ROLE_NONE, 0, gt_api_get_version, "getVersion",
	  "show the daemon's version" },
	{ GT_GET, "/metrics", GT_ROLE_TOKEN, 0, gt_api_get_metrics, "getMetrics",
	  "metrics in Prometheus' text format" },
	{ GT_GET, "/livez", GT_ROLE_NONE, 0, gt_api_get_live, "getLive", "does control answer?" },
	{ GT_GET, "/readyz", GT_ROLE_NONE, 0, gt_api_get_ready, "getReady",
	  "can a cold call be served?" },
	{ GT_GET, "/openapi.yaml", GT_ROLE_NONE, 0, gt_api_get_contract, "getContract",
	  "the contract of this API" },
};
const size_t gt_api_routes_n = GT_LEN(gt_api_routes);

void gt_api_print_routes(FILE *out)
{
	for (size_t i = 0; i < GT_LEN(gt_api_routes); i++) {
		const struct gt_http_route *r = &gt_api_routes[i];

		fprintf(out, "%-6s %-46s %-15s %s\n", gt_method_name(r->method), r->pattern,
			r->operation, r->summary);
	}
}
