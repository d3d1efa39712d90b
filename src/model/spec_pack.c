/* spec_pack.c - a specification and all that it points to in one piece of memory: control keeps one
 * for every function there is, and the allocator's share of a dozen short strings is a third of it.
 */
#include <gantry/model/spec.h>

#include <stdlib.h>
#include <string.h>

struct pack {
	char *base; /* NULL: only the size is found out */
	size_t size;
};

static void *put(struct pack *p, const void *from, size_t size, size_t align)
{
	char *to;

	if (!from)
		return NULL;
	p->size = (p->size + align - 1) / align * align;
	to = p->base ? p->base + p->size : NULL;
	if (to)
		memcpy(to, from, size);
	p->size += size;
	return to;
}

static char *put_text(struct pack *p, const char *text)
{
	return text ? put(p, text, strlen(text) + 1, 1) : NULL;
}

/* The list first, then what its members point to. NULL-terminated when `ends`. */
static char **put_texts(struct pack *p, char *const *texts, size_t n, bool ends)
{
	char **to = put(p, texts, (n + ends) * sizeof(*texts), sizeof(*texts));

	for (size_t i = 0; i < n; i++) {
		char *text = put_text(p, texts[i]);

		if (to)
			to[i] = text;
	}
	return to;
}

static void put_lists(struct pack *p, struct gt_spec *to, const struct gt_spec *from)
{
	to->env = put(p, from->env, from->n_env * sizeof(*from->env), sizeof(char *));
	for (size_t i = 0; i < from->n_env; i++) {
		const struct gt_env env = { put_text(p, from->env[i].name),
					    put_text(p, from->env[i].value) };
		if (to->env)
			to->env[i] = env;
	}
	to->volumes = put(p, from->volumes, from->n_volumes * sizeof(*from->volumes),
			  sizeof(char *));
	for (size_t i = 0; i < from->n_volumes; i++) {
		const struct gt_volume volume = { put_text(p, from->volumes[i].host),
						  put_text(p, from->volumes[i].path),
						  from->volumes[i].readonly };
		if (to->volumes)
			to->volumes[i] = volume;
	}
	to->tmpfs = put(p, from->tmpfs, from->n_tmpfs * sizeof(*from->tmpfs), sizeof(uint64_t));
	for (size_t i = 0; i < from->n_tmpfs; i++) {
		const struct gt_tmpfs tmpfs = { put_text(p, from->tmpfs[i].path),
						from->tmpfs[i].size_bytes };
		if (to->tmpfs)
			to->tmpfs[i] = tmpfs;
	}
	to->placement.labels = put(p, from->placement.labels,
				   from->placement.n_labels * sizeof(*from->placement.labels), 1);
}

/* Mostly the end of `whole`, which is in the piece already. */
static char *put_end(struct pack *p, char *packed, const char *whole, const char *text)
{
	size_t n = whole ? strlen(whole) : 0, len = text ? strlen(text) : 0;

	if (!text || n < len || strcmp(whole + n - len, text) != 0)
		return put_text(p, text);
	return packed ? packed + n - len : NULL;
}

static void put_all(struct pack *p, struct gt_spec *to, const struct gt_spec *from)
{
	const struct gt_gpu_want *gpu = &from->resources.gpu;

	to->command = put_texts(p, from->command, from->n_command, true);
	to->models = put_texts(p, from->models, from->n_models, false);
	to->weights.paths = put_texts(p, from->weights.paths, from->weights.n_paths, false);
	to->resources.devices = put_texts(p, from->resources.devices, from->resources.n_devices,
					  false);
	to->resources.gpu.models = put_texts(p, gpu->models, gpu->n_models, false);
	put_lists(p, to, from);
	to->image = put_text(p, from->image);
	to->image_path = put_end(p, to->image, from->image, from->image_path);
	to->base = put_text(p, from->base);
	to->socket = put_text(p, from->socket);
	to->workdir = put_text(p, from->workdir);
	to->user = put_text(p, from->user);
	to->affinity.header = put_text(p, from->affinity.header);
	to->ready.path = put_text(p, from->ready.path);
	to->park.http.sleep = put_text(p, from->park.http.sleep);
	to->park.http.wake = put_text(p, from->park.http.wake);
}

void *gt_spec_pack_behind(struct gt_spec *spec, size_t head, struct gt_spec **ret)
{
	const size_t at = (head + _Alignof(struct gt_spec) - 1) / _Alignof(struct gt_spec) *
			  _Alignof(struct gt_spec);
	struct pack p = { .size = at + sizeof(*spec) };
	struct gt_spec to = *spec;

	put_all(&p, &to, spec);
	p = (struct pack){ .base = gt_alloc(p.size), .size = at + sizeof(*spec) };
	put_all(&p, &to, spec);
	to.packed = true;
	*ret = memcpy(p.base + at, &to, sizeof(to));
	gt_spec_free(spec);
	return p.base;
}

struct gt_spec *gt_spec_pack(struct gt_spec *spec)
{
	if (!spec->packed)
		(void)gt_spec_pack_behind(spec, 0, &spec);
	return spec;
}
