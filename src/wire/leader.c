#include <gantry/wire/leader.h>

#include <gantry/base/cleanup.h>
#include <gantry/wire/json.h>
#include <gantry/wire/value.h>

static const char *const states[] = {
	[GT_LEADER_NONE] = "none", [GT_LEADER_OTHER] = "other", [GT_LEADER_SELF] = "self"
};

void gt_leader_write(const struct gt_leader *l, struct gt_buf *out)
{
	struct gt_json j;

	gt_json_begin(&j, out);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "leader", states[l->state]);
	gt_json_u64(&j, "epoch", l->epoch);
	gt_json_str(&j, "node", l->node);
	gt_json_str(&j, "door", l->door);
	gt_json_str(&j, "own_door", l->own_door);
	gt_json_str(&j, "before", l->before);
	gt_json_close(&j, '}');
	gt_buf_addc(out, '\n');
}

int gt_leader_read(const char *text, size_t len, struct gt_leader *ret, struct gt_err *err)
{
	gt_auto(value) struct gt_value *v = NULL;
	struct gt_leader l = { .state = GT_LEADER_NONE };
	size_t state = 0;

	if (gt_value_parse(text, len, &v, err) < 0)
		return -err->code;
	while (state < GT_LEN(states) && !gt_streq(gt_value_str(v, "leader", ""), states[state]))
		state++;
	if (state == GT_LEN(states) ||
	    !gt_strcopy(l.node, sizeof(l.node), gt_value_str(v, "node", "")) ||
	    !gt_strcopy(l.door, sizeof(l.door), gt_value_str(v, "door", "")) ||
	    !gt_strcopy(l.own_door, sizeof(l.own_door), gt_value_str(v, "own_door", "")) ||
	    !gt_strcopy(l.before, sizeof(l.before), gt_value_str(v, "before", "")))
		return gt_err_set(err, EINVAL, "malformed_json",
				  "this does not say which control leads");
	l.state = (enum gt_leader_state)state;
	l.epoch = gt_value_u64(v, "epoch", 0);
	*ret = l;
	return 0;
}
