/* image_spec.c - what the image says, where the specification says nothing. */
#include <stdlib.h>
#include <string.h>

#include "agent_impl.h"
#include "images.h"

static void take_command(const struct gt_image_record *record, struct gt_spec *spec)
{
	size_t n = record->n_entrypoint + record->n_cmd;

	if (spec->n_command > 0 || n == 0)
		return;
	free(spec->command);
	spec->command = gt_alloc_array(n + 1, sizeof(*spec->command));
	for (size_t i = 0; i < record->n_entrypoint; i++)
		spec->command[spec->n_command++] = gt_strdup(record->entrypoint[i]);
	for (size_t i = 0; i < record->n_cmd; i++)
		spec->command[spec->n_command++] = gt_strdup(record->cmd[i]);
}

static bool has_env(const struct gt_spec *spec, const char *name, size_t len)
{
	for (size_t i = 0; i < spec->n_env; i++) {
		if (strlen(spec->env[i].name) == len && memcmp(spec->env[i].name, name, len) == 0)
			return true;
	}
	return false;
}

static void take_env(const struct gt_image_record *record, struct gt_spec *spec)
{
	spec->env = gt_grow(spec->env, spec->n_env + record->n_env + 1, sizeof(*spec->env));
	for (size_t i = 0; i < record->n_env; i++) {
		const char *text = record->env[i];
		size_t len = strcspn(text, "=");

		/* Ours say who the replica is; an image has no say in it. */
		if (text[len] != '=' || len == 0 || has_env(spec, text, len) ||
		    gt_starts_with(text, "GANTRY_"))
			continue;
		spec->env[spec->n_env++] = (struct gt_env){ gt_strndup(text, len),
							    gt_strdup(text + len + 1) };
	}
}

void gt_image_apply(const struct gt_image_record *record, struct gt_spec *spec)
{
	take_command(record, spec);
	take_env(record, spec);
	if (gt_streq(spec->workdir, "/") && record->workdir && record->workdir[0] == '/') {
		free(spec->workdir);
		spec->workdir = gt_strdup(record->workdir);
	}
	if (!spec->user)
		spec->user = gt_strdup(record->user);
}
