"""The tables, the same for SQLite and PostgreSQL.

Times are microseconds since 1970 in UTC, amounts nano-USD: integers order, compare and add the same in both databases.
Money (`attempt`, `scope`, and a `hold` whose attempt may be corrected) refers to nothing that retention drops: it
outlives prompts and pictures.
"""

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, MetaData, Table, Text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

generation = Table(
    "generation",
    metadata,
    Column("id", Text, primary_key=True),
    Column("caller", Text, nullable=False),
    Column("request_id", Text),
    Column("state", Text, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("finish_time", BigInteger),
    Column("kept_since", BigInteger),  # when retention began to count; NULL while it runs
    Column("output_count", Integer, nullable=False),
    Column("tier", Text, nullable=False),
    Column("workflow", Text),
    Column("row_name", Text, nullable=False),
    Column("model", Text),  # that drew, or is to draw first
    Column("served_version", Text),
    Column("end_user", Text),  # keyed hash
    Column("set_id", Text),
    Column("reroll_of", Text),
    Column("reason", Text),
    Column("text", Text, nullable=False, default=""),
    Column("queue_s", Float, nullable=False, default=0.0),
    Column("provider_s", Float, nullable=False, default=0.0),
    Column("store_s", Float, nullable=False, default=0.0),
    Column("overhead_s", Float, nullable=False, default=0.0),
    Column("replica", Text),  # whose it is while it runs; NULL or without a row: nobody's
    Column("limits", Text),  # JSON: those that end with it, which all its attempts must fit under; NULL if none
    Column("record", Text, nullable=False),  # JSON: request and plan, see `record.py`
)

# Of a caller's generations those that do not match are passed over without being read: see `listing.py`.
_listed = ("caller", "id", "state", "tier", "workflow", "row_name", "model", "served_version")
Index("ix_generation_listed", *(generation.c[name] for name in _listed))
for _name in ("state", "tier", "row_name", "model"):
    Index(None, generation.c[_name], generation.c.id)
for _name in ("workflow", "served_version", "end_user", "set_id", "reroll_of", "request_id"):
    _present = generation.c[_name].is_not(None)
    Index(None, generation.c[_name], generation.c.id, sqlite_where=_present, postgresql_where=_present)
Index(None, generation.c.kept_since)
Index(None, generation.c.create_time)

label = Table(
    "label",
    metadata,
    Column("generation_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
Index(None, label.c.key, label.c.value, label.c.generation_id)

output = Table(
    "output",
    metadata,
    # Only outputs that have ended: the others are PENDING and have nothing to say.
    Column("generation_id", Text, primary_key=True),
    Column("output_index", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    Column("image_id", Text),
    Column("reason", Text),
    Column("text", Text, nullable=False),
)

attempt = Table(
    "attempt",
    metadata,
    Column("id", Text, primary_key=True),
    Column("generation_id", Text, nullable=False),
    Column("output_index", Integer, nullable=False),
    Column("attempt_index", Integer, nullable=False),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("quality", Text),
    Column("caller", Text, nullable=False),
    Column("end_user", Text),
    Column("tier", Text, nullable=False),
    Column("workflow", Text),
    Column("row_name", Text, nullable=False),
    Column("day", Text, nullable=False),  # UTC, of the creation, in whose window its money counts
    Column("state", Text, nullable=False),
    Column("after", Text),
    Column("adaptations", Text),  # JSON; NULL if none
    Column("served_model", Text, nullable=False, default=""),
    Column("served_version", Text, nullable=False, default=""),
    Column("provider_request_id", Text, nullable=False, default=""),
    Column("outcome", Text),
    Column("detail", Text, nullable=False, default=""),
    Column("estimated_nanos", BigInteger, nullable=False),
    Column("cost_nanos", BigInteger, nullable=False),
    Column("cost_basis", Text, nullable=False),
    Column("text_in_tokens", BigInteger),  # the four are NULL together: no usage was reported
    Column("image_in_tokens", BigInteger),
    Column("text_out_tokens", BigInteger),
    Column("image_out_tokens", BigInteger),
    Column("pictures", Integer, nullable=False, default=0),
    Column("create_time", BigInteger),
    Column("sent_time", BigInteger),
    Column("finish_time", BigInteger),
)
Index(None, attempt.c.generation_id)
Index(None, attempt.c.day, attempt.c.provider)
_open = attempt.c.state != "finished"
Index("ix_attempt_open", attempt.c.state, sqlite_where=_open, postgresql_where=_open)
_unknown = attempt.c.cost_basis == "unknown"
Index("ix_attempt_unknown", attempt.c.day, sqlite_where=_unknown, postgresql_where=_unknown)
_named = attempt.c.provider_request_id != ""
Index(None, attempt.c.provider_request_id, sqlite_where=_named, postgresql_where=_named)

hold = Table(
    "hold",
    metadata,
    Column("attempt_id", Text, primary_key=True),
    Column("scope", Text, primary_key=True),
    Column("unit", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),  # nano-USD or pictures
    Column("settled", Boolean, nullable=False),
)

scope = Table(
    "scope",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("settled", BigInteger, nullable=False),  # nano-USD or pictures, as its name begins
    Column("held", BigInteger, nullable=False),
)

claim = Table(
    "claim",
    metadata,
    Column("caller", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("generation_id", Text, nullable=False),
)
Index(None, claim.c.generation_id)

image = Table(
    "image",
    metadata,
    Column("id", Text, primary_key=True),
    Column("generation_id", Text),  # NULL: an upload
    Column("caller", Text, nullable=False),
    Column("kept_since", BigInteger),  # of an upload; a drawn picture goes with its generation
    Column("output_index", Integer, nullable=False),
    Column("mime", Text, nullable=False),
    Column("width_px", Integer, nullable=False),
    Column("height_px", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("served_model", Text, nullable=False),
    Column("served_version", Text, nullable=False),
    Column("has_c2pa", Boolean, nullable=False),
)
Index(None, image.c.generation_id)
Index(None, image.c.sha256)
_upload = image.c.kept_since.is_not(None)
Index(None, image.c.kept_since, sqlite_where=_upload, postgresql_where=_upload)

input_picture = Table(
    "input_picture",
    metadata,
    # What a request was made from: assets that live as long as its record.
    Column("generation_id", Text, primary_key=True),
    Column("sha256", Text, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
)
Index(None, input_picture.c.sha256)

unreferenced = Table(
    "unreferenced",
    metadata,
    # Pictures whose last record is gone and whose file is still to be deleted; a row survives a crash in between.
    Column("sha256", Text, primary_key=True),
)

tombstone = Table(
    "tombstone",
    metadata,
    Column("id", Text, primary_key=True),
    Column("caller", Text, nullable=False),
    Column("time", BigInteger, nullable=False),
)
Index(None, tombstone.c.time)

budget = Table(
    "budget",
    metadata,
    Column("id", Text, primary_key=True),
    Column("counted", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("span", Text, nullable=False),  # the window: `day` or `month`; "window" is SQL's own word
    Column("amount", BigInteger, nullable=False),
    Column("is_hard", Boolean, nullable=False),
    Column("thresholds", Text, nullable=False),  # percents with commas between
    Column("tier", Text),
)

alert = Table(
    "alert",
    metadata,
    Column("id", Text, primary_key=True),
    Column("occasion", Text, nullable=False),  # no two alerts have the same
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("delivery", Text, nullable=False),
)
Index(None, alert.c.occasion, unique=True)

replica = Table(
    "replica",
    metadata,
    # The processes that work here, while they do.
    Column("id", Text, primary_key=True),
    Column("beat", BigInteger, nullable=False),  # counts up while its process lives
)

reconciliation = Table(
    "reconciliation",
    metadata,
    # One application of a provider's cost export; it outlives what it settled.
    Column("id", Text, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("who", Text, nullable=False),  # user and machine
    Column("file_name", Text, nullable=False),
    Column("file_sha256", Text, nullable=False),
)

reconciled = Table(
    "reconciled",
    metadata,
    # An attempt that was unknown, and what it came to by which reconciliation; once at most.
    Column("attempt_id", Text, primary_key=True),
    Column("reconciliation_id", Text, nullable=False),
    Column("unknown_nanos", BigInteger, nullable=False),
    Column("settled_nanos", BigInteger, nullable=False),
)
Index(None, reconciled.c.reconciliation_id)

world = Table(
    "world",
    metadata,
    # One row at most: whether the money in here is real or the sandbox's. The two never share a ledger.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
)

rating = Table(
    "rating",
    metadata,
    # What a caller thinks of a generation; it outlives the generation, but for its text.
    Column("caller", Text, primary_key=True),
    Column("generation_id", Text, primary_key=True),
    Column("owner", Text, nullable=False),  # whose generation it is
    Column("workflow", Text, nullable=False),  # empty without one
    Column("model", Text, nullable=False),
    Column("made_time", BigInteger, nullable=False),  # when the generation was created
    Column("thumb", Text),
    Column("text", Text, nullable=False),
    Column("rate_time", BigInteger, nullable=False),
)
Index(None, rating.c.made_time)
Index(None, rating.c.generation_id)

verdict = Table(
    "verdict",
    metadata,
    # One generation that another one won over; owner, workflow, model and time are the loser's.
    Column("caller", Text, primary_key=True),
    Column("winner_id", Text, primary_key=True),
    Column("loser_id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("workflow", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("made_time", BigInteger, nullable=False),
)
Index(None, verdict.c.made_time)
