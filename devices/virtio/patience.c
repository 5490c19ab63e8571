#include "devices/virtio/patience.h"

bool patience_at_once(struct patience *p)
{
	if (!p->skip)
		return !p->pause;
	p->skip--;
	return true;
}

void patience_paused(struct patience *p, uint64_t ns)
{
	/* After a success it has much to do before it comes again; one that
	 * comes sooner all the same did not wait to be told. */
	if (p->pause && !p->tried && ns >= p->pause)
		return;
	if (ns > PATIENCE_MAX_NS)
		p->pause = 0;
	else
		p->pause = p->pause ? (3 * p->pause + ns) / 4 : ns;
}

void patience_begin(struct patience *p, uint64_t now)
{
	p->more = 0;
	p->waited = 0;
	p->last = now;
}

void patience_more(struct patience *p, uint64_t from, uint64_t to)
{
	p->more++;
	p->waited += from - p->last;
	p->last = to;
}

/* More comes, and twice as quickly. */
static bool pays(const struct patience *p)
{
	return p->more >= PATIENCE_MORE_MIN &&
	       p->waited < p->more * p->pause / 2;
}

bool patience_lasts(const struct patience *p, uint64_t now)
{
	/* For the first the driver may have to come back from a doorbell. */
	uint64_t limit = p->more ? p->pause : 2 * p->pause;

	return now - p->last < limit && p->more < PATIENCE_MORE_MAX &&
	       (p->more < PATIENCE_MORE_MIN || pays(p));
}

void patience_end(struct patience *p)
{
	if (pays(p))
		p->tried = 0;
	else if (p->tried < PATIENCE_SKIP_MAX)
		p->tried = 2 * p->tried + 1;
	p->skip = p->tried;
	p->more = 0;
}
