/* gpu.c - `gantry gpu`: what models need of a GPU's memory, out of their files. */
#include "commands.h"
#include "table.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/base/units.h>
#include <gantry/gpu/model_files.h>
#include <gantry/wire/json.h>

#include "find.h"
#include "rest.h"

#define PROBE_MS 3000

struct estimate {
	struct gt_cli *cli;
	const char *path;
	struct gt_model model;
	struct gt_vram vram;
	struct gt_json *json;   /* or NULL */
	struct gt_table *table; /* or NULL */
	const char *node;
	uint32_t fit; /* GPUs that hold it */
};

/* ---- what is asked ---- */

static bool number(struct gt_cli *cli, const char *flag, uint64_t most, uint64_t *ret)
{
	const char *text = gt_args_get(&cli->args, flag);

	if (!text || (gt_parse_u64(text, most, ret) == 0 && *ret > 0))
		return true;
	gt_cli_usage(cli, "--%s: \"%s\" is no number from 1 to %llu", flag, text,
		     (unsigned long long)most);
	return false;
}

static bool kv_type(struct gt_cli *cli, uint32_t *ret_bits)
{
	const char *name = gt_args_get(&cli->args, "kv-dtype");

	for (enum gt_kv_type type = 0; name && type < GT_KV_N; type++) {
		if (strcmp(name, gt_kv_type_name(type)) != 0)
			continue;
		*ret_bits = gt_kv_type_bits(type);
		return true;
	}
	if (name)
		gt_cli_usage(
			cli,
			"--kv-dtype: \"%s\" is none of auto, fp32, bf16, fp16, fp8, int8, int4",
			name);
	return !name;
}

static bool flags_read(struct gt_cli *cli, struct gt_vram_params *p, uint32_t *parallel)
{
	const char *overhead = gt_args_get(&cli->args, "overhead");
	uint64_t sequences = 1, ranks = 1;

	if (!number(cli, "context", GT_LLM_SIZE_MAX, &p->context) ||
	    !number(cli, "sequences", GT_GPU_SEQUENCES_MAX, &sequences) ||
	    !number(cli, "tensor-parallel", GT_VRAM_PARALLEL_MAX, &ranks) ||
	    !kv_type(cli, &p->kv_bits))
		return false;
	if (overhead && (gt_parse_bytes(overhead, &p->overhead_bytes) < 0 ||
			 p->overhead_bytes > GT_GPU_BYTES_MAX)) {
		gt_cli_usage(cli, "--overhead: \"%s\" is no size such as 1200MiB", overhead);
		return false;
	}
	p->sequences = (uint32_t)sequences;
	*parallel = (uint32_t)ranks;
	return true;
}

static int read_model(const char *path, uint32_t parallel, struct gt_model *ret, struct gt_err *err)
{
	gt_auto(model_files) struct gt_model_files files = { .config_fd = -EBADF,
							     .index_fd = -EBADF };
	gt_auto(free) char *absolute = realpath(path, NULL);
	gt_auto(fd) int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (!absolute || root < 0)
		return gt_err_errno(err, errno, "%s", path);
	r = gt_model_files_open(root, absolute, &files, err);
	if (r == 0)
		r = gt_model_read(&files, parallel, ret, err);
	return r;
}

/* ---- as JSON ---- */

static void json_model(struct gt_json *j, const struct estimate *e)
{
	const struct gt_vram *v = &e->vram;

	gt_json_object(j, "model");
	gt_json_str(j, "architecture", e->model.llm.arch);
	gt_json_str(j, "format", e->model.format);
	gt_json_u64(j, "files", e->model.files);
	gt_json_u64(j, "tensors", e->model.tensors);
	gt_json_u64(j, "weight_bytes", e->model.weight_bytes);
	gt_json_u64(j, "context", e->model.llm.context);
	gt_json_close(j, '}');
	gt_json_u64(j, "context", v->context);
	gt_json_u64(j, "sequences", v->sequences);
	gt_json_u64(j, "kv_bits", v->kv_bits);
	gt_json_u64(j, "tensor_parallel", e->model.parallel);
	gt_json_object(j, "terms");
	gt_json_u64(j, "weights", v->terms.weights);
	gt_json_u64(j, "cache", v->terms.cache);
	gt_json_u64(j, "activations", v->terms.activations);
	gt_json_u64(j, "overhead", v->terms.overhead);
	gt_json_close(j, '}');
	gt_json_u64(j, "bytes", v->bytes);
	gt_json_u64(j, "token_bytes", v->token_bytes);
	gt_json_u64(j, "sequence_bytes", v->sequence_bytes);
}

static void json_gpu(struct estimate *e, const char *model, uint64_t bytes)
{
	uint32_t milli = gt_vram_utilization(&e->vram, bytes);

	gt_json_object(e->json, NULL);
	gt_json_str(e->json, "model", model);
	if (e->node)
		gt_json_str(e->json, "node", e->node);
	gt_json_u64(e->json, "memory_bytes", bytes);
	gt_json_bool(e->json, "fits", milli > 0);
	gt_json_u64(e->json, "sequences", gt_vram_sequences(&e->vram, bytes));
	if (milli)
		gt_json_num(e->json, "memory_fraction", milli / 1000.0);
	gt_json_close(e->json, '}');
}

/* ---- for people ---- */

static void print_terms(const struct estimate *e)
{
	static const char *const headers[] = { "TERM", ">GIB", ">BYTES" };
	const struct gt_vram *v = &e->vram;
	const struct {
		const char *name;
		uint64_t bytes;
	} rows[] = { { "weights", v->terms.weights },
		     { "cache", v->terms.cache },
		     { "activations", v->terms.activations },
		     { "overhead", v->terms.overhead },
		     { "sum", v->bytes } };
	gt_auto(table) struct gt_table *t = gt_table_new(headers, GT_LEN(headers));

	for (size_t i = 0; i < GT_LEN(rows); i++) {
		gt_table_cell(t, rows[i].name);
		gt_table_cellf(t, "%.2f", (double)rows[i].bytes / (double)GT_GIB);
		gt_table_cellf(t, "%llu", (unsigned long long)rows[i].bytes);
	}
	gt_table_print(t, e->cli->out, e->cli->color);
}

static void print_head(const struct estimate *e)
{
	const struct gt_vram *v = &e->vram;
	FILE *out = e->cli->out;

	gt_text_print(out, e->path);
	fprintf(out, ": %s, %s, %u files, %llu tensors\n", e->model.llm.arch, e->model.format,
		e->model.files, (unsigned long long)e->model.tensors);
	fprintf(out, "on each of %u GPUs: context %llu, %u sequences, cache of %u bits\n\n",
		e->model.parallel, (unsigned long long)v->context, v->sequences, v->kv_bits);
}

static void table_gpu(struct estimate *e, const char *model, uint64_t bytes)
{
	uint32_t milli = gt_vram_utilization(&e->vram, bytes);
	uint64_t sequences = gt_vram_sequences(&e->vram, bytes);

	gt_table_cell(e->table, model);
	gt_table_cell(e->table, e->node);
	gt_table_cellf(e->table, "%.1f GiB", (double)bytes / (double)GT_GIB);
	gt_table_cellf(e->table, "%llu", (unsigned long long)sequences);
	if (milli)
		gt_table_cellf(e->table, "0.%03u", milli);
	else
		gt_table_cell(e->table, "");
}

/* ---- GPUs ---- */

static void add_gpu(struct estimate *e, const char *model, uint64_t bytes)
{
	if (bytes == 0 || bytes > GT_GPU_BYTES_MAX)
		return;
	e->fit += gt_vram_utilization(&e->vram, bytes) > 0;
	if (e->json)
		json_gpu(e, model, bytes);
	else
		table_gpu(e, model, bytes);
}

static bool add_node(struct gt_cli *cli GT_UNUSED, const struct gt_value *node, void *arg)
{
	const struct gt_value *gpus = gt_value_at(node, "gpus");
	struct estimate *e = arg;
	const char *last = "";
	uint64_t last_bytes = 0;

	e->node = gt_value_str(node, "name", "?");
	for (size_t i = 0; i < gt_value_len(gpus); i++) {
		const struct gt_value *g = gt_value_item(gpus, i);
		const char *model = gt_value_str(g, "model", "?");
		uint64_t bytes = gt_value_u64(g, "memory_bytes", 0);

		if (bytes == last_bytes && gt_streq(model, last))
			continue; /* one line for those that are alike */
		add_gpu(e, model, bytes);
		last = model;
		last_bytes = bytes;
	}
	return true;
}

/* Without a daemon, or a token for it, the estimate is as good: nothing is said of it. */
static bool daemon_answers(struct gt_cli *cli)
{
	const struct gt_rest_request req = { .path = "/v1/nodes?limit=1", .timeout_ms = PROBE_MS };
	const struct gt_find find = { .url = gt_args_get(&cli->args, "url"),
				      .ca = gt_args_get(&cli->args, "ca"),
				      .token = gt_args_get(&cli->args, "token"),
				      .token_file = gt_args_get(&cli->args, "token-file") };
	gt_auto(target) struct gt_target target = { 0 };
	gt_auto(answer) struct gt_rest_answer answer = { 0 };
	struct gt_rest *rest;
	int r;

	if (gt_target_find(&find, &target, NULL) < 0)
		return false;
	rest = gt_rest_new(&target);
	r = gt_rest_send(rest, &req, &answer, NULL);
	gt_rest_free(rest);
	return r == 0 && answer.status == 200;
}

static enum gt_exit add_gpus(struct estimate *e)
{
	for (const struct gt_vram_gpu *g = gt_vram_gpus; g->model; g++)
		add_gpu(e, g->model, g->mib * GT_MIB);
	if (!daemon_answers(e->cli))
		return GT_EXIT_DONE;
	return gt_cli_each(e->cli, "/v1/nodes", add_node, e);
}

static enum gt_exit print_json(struct estimate *e)
{
	gt_auto(buf) struct gt_buf out = { 0 };
	struct gt_json j;
	enum gt_exit code;

	e->json = &j;
	gt_json_begin(&j, &out);
	gt_json_object(&j, NULL);
	json_model(&j, e);
	gt_json_array(&j, "gpus");
	code = add_gpus(e);
	gt_json_close(&j, ']');
	gt_json_close(&j, '}');
	if (code == GT_EXIT_DONE)
		gt_cli_print_json(e->cli, &out);
	return code;
}

static enum gt_exit print_text(struct estimate *e)
{
	static const char *const headers[] = { "GPU", "?NODE", ">MEMORY", ">SEQUENCES",
					       ">UTILIZATION" };
	gt_auto(table) struct gt_table *t = gt_table_new(headers, GT_LEN(headers));
	enum gt_exit code;

	e->table = t;
	code = add_gpus(e);
	if (code != GT_EXIT_DONE)
		return code;
	print_head(e);
	print_terms(e);
	fputc('\n', e->cli->out);
	gt_table_print(t, e->cli->out, e->cli->color);
	return code;
}

static enum gt_exit estimate(struct gt_cli *cli)
{
	struct estimate e = { .cli = cli, .path = cli->args.operands[1] };
	struct gt_vram_params params = { 0 };
	struct gt_err err = { 0 };
	uint32_t parallel;
	enum gt_exit code;

	if (!flags_read(cli, &params, &parallel))
		return GT_EXIT_USAGE;
	if (read_model(e.path, parallel, &e.model, &err) < 0 ||
	    gt_vram_estimate(&e.model, &params, &e.vram, &err) < 0)
		return gt_cli_fail(cli, &err);
	code = cli->json ? print_json(&e) : print_text(&e);
	if (code == GT_EXIT_DONE && e.fit == 0)
		fprintf(cli->err,
			"gantry: none of these GPUs holds %u sequences of %llu tokens; a shorter "
			"--context, fewer --sequences, --kv-dtype fp8 or more GPUs "
			"(--tensor-parallel) need less of each\n",
			e.vram.sequences, (unsigned long long)e.vram.context);
	return code;
}

static enum gt_exit run(struct gt_cli *cli)
{
	if (strcmp(cli->args.operands[0], "estimate") == 0)
		return estimate(cli);
	return gt_cli_usage(cli, "\"%s\" is nothing that gantry gpu does; write gpu estimate PATH",
			    cli->args.operands[0]);
}

static const struct gt_flag flags[] = {
	{ "context", 0, "N", "tokens of a sequence (default: the most of the model)", false },
	{ "sequences", 0, "N", "sequences at once (default 1)", false },
	{ "kv-dtype", 0, "TYPE", "of the cache: auto, fp32, bf16, fp16, fp8, int8, int4", false },
	{ "tensor-parallel", 0, "N", "GPUs that the weights are split over (default 1)", false },
	{ "overhead", 0, "SIZE", "what the driver and the engine need, as measured", false },
};

const struct gt_command gt_cmd_gpu = {
	.name = "gpu",
	.args = "estimate PATH [FLAGS]",
	.summary = "how much memory of a GPU a model needs",
	.help = "estimate reads the headers of a model's files (a directory with config.json and\n"
		"*.safetensors, or a *.gguf) and adds up what it needs on each GPU: its weights to "
		"the\n"
		"byte, the cache of its sequences, activations, and what driver and engine take. "
		"Then,\n"
		"for common GPUs and those of the daemon's nodes, how many such sequences fit, and "
		"the\n"
		"--gpu-memory-utilization that vLLM needs there; it is empty where one does not "
		"fit.\n"
		"How each is computed, and how exact it is: docs/gpu-memory.md.\n"
		"\n"
		"Examples:\n"
		"  gantry gpu estimate /models/qwen --context 32768 --sequences 4\n"
		"  gantry gpu estimate model-q4_k_m.gguf --context 8192 --json",
	.flags = flags,
	.n_flags = GT_LEN(flags),
	.least = 2,
	.most = 2,
	.run = run,
};
