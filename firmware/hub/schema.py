"""The hub's ledger, as SQLite makes it. Times are ns TAI unless the name says otherwise; identities are 16 bytes."""

SCHEMA = """create table if not exists boxes (
    name text primary key, site text not null,
    state text not null default 'unknown', epoch blob,           -- as of its last birth or will
    since_tai_ns integer not null, seen_tai_ns integer not null, -- state since; anything heard last
    relay text                                                   -- through whom; null: by itself
) without rowid;

create table if not exists envelopes (
    identity blob primary key, box text not null, kind text not null, priority integer not null,
    first_tai_ns integer not null, last_tai_ns integer not null, size integer not null,
    arrived_tai_ns integer not null, outcome text not null       -- 'committed', or 'quarantined: <why>'
) without rowid;

create table if not exists messages (
    number integer primary key autoincrement,                    -- in order of arrival; what a page has seen up to
    identity blob not null, box text not null, envelope blob not null,
    priority integer not null, severity integer not null, kind text not null,
    device text not null, process text not null, event text, sequence text, -- text: it may have 64 bits without a sign
    origin_tai_ns integer not null, origin_uncertainty_ns integer not null, origin_source text not null,
    arrived_tai_ns integer not null, text text, fields text, attachment_type text, attachment blob,
    received_tai_ns integer,                                     -- by the box's clock; null: of a time before it was kept
    unique (box, identity)
);
create index if not exists messages_by_priority on messages (priority, number);
create index if not exists messages_by_box on messages (box, number);
create index if not exists messages_by_kind on messages (kind, box, number);

create table if not exists commands (
    identity blob primary key, box text not null, signer text not null, deed text not null, counter integer not null,
    made_tai_ns integer not null, expires_tai_ns integer not null, parameters text not null, about blob,
    state text not null, detail text not null default '', changed_tai_ns integer not null
) without rowid;

create table if not exists counters (signer text primary key, counter integer not null) without rowid;

create table if not exists evidence (
    command blob primary key, box text not null, parts integer not null, bytes integer not null, frames integer not null,
    complete integer not null, since_utc_ns integer, until_utc_ns integer, changed_tai_ns integer not null
) without rowid;

create table if not exists held_parts (
    command blob not null, part integer not null, last integer not null, frames integer not null,
    since_utc_ns integer, until_utc_ns integer, primary key (command, part)
) without rowid;

create table if not exists sessions (
    box text not null, session text not null, kind text not null,
    state text not null,                                         -- 'open', 'closed' (not all of it is here), 'complete'
    start_tai_ns integer not null, start_uncertainty_ns integer not null, opened_by text not null,
    end_tai_ns integer, end_uncertainty_ns integer, closed_by text,
    streams text not null default '[]',                          -- [[device, process, messages, last], …] as the box counted
    missing integer,                                             -- messages of those not here yet
    summary text,                                                -- what it came to, once it is complete
    changed_tai_ns integer not null, primary key (box, session)
) without rowid;

create table if not exists matches (
    rule text not null, key text not null, box text not null, identity blob not null,
    at_tai_ns integer not null, value real,                      -- when the box received it; the field whose rise is looked for
    primary key (rule, box, identity)
) without rowid;
create index if not exists matches_by_key on matches (rule, key, at_tai_ns);

create table if not exists firings (
    number integer primary key autoincrement, rule text not null, key text not null,
    box text not null, cause blob not null, device text not null, times integer not null, -- cause: the message, the group or the session
    message_tai_ns integer not null, at_tai_ns integer not null,
    state text not null, done text not null default '[]',        -- 'due', 'done', 'dropped'; what was done, as JSON
    unique (rule, box, cause)
);
create index if not exists firings_by_key on firings (rule, key, at_tai_ns);
create index if not exists firings_due on firings (state, number);

create table if not exists calls (
    number integer primary key autoincrement, rule text not null, key text not null, box text not null, text text not null,
    state text not null, times integer not null default 1,
    opened_tai_ns integer not null, last_tai_ns integer not null, changed_tai_ns integer not null,
    by text not null default '', note text not null default ''
);

create table if not exists editions (
    identity blob primary key, version text not null, number integer not null, board text not null, channel text not null,
    kind text not null, from_tai_ns integer not null, until_tai_ns integer not null, signed blob not null, published_tai_ns integer not null
) without rowid;

create table if not exists versions (
    box text primary key, official text not null, previous text not null, number integer not null, phase text not null,
    board text not null, channels text not null, said_tai_ns integer not null    -- by the box's own time
) without rowid;

create table if not exists systems (
    box text primary key, version text not null, state text not null, -- the operating system: 'confirmed', 'on trial'
    slot text not null, other text not null, said_tai_ns integer not null -- other: what the other slot holds, in the box's words
) without rowid;

create table if not exists rollouts (
    number integer primary key autoincrement, edition blob not null, plan text not null,
    state text not null,                                         -- 'running', 'halted', 'back', 'done'
    phase integer not null, cause text not null default '', by text not null,
    started_tai_ns integer not null, changed_tai_ns integer not null
);

create table if not exists members (
    rollout integer not null, place integer not null, box text not null,
    state text not null,                                         -- 'waiting', 'offered', 'official', 'good', 'failed', 'back'
    since_tai_ns integer not null default 0, well_tai_ns integer not null default 0, heard_tai_ns integer not null default 0,
    cause text not null default '', command blob, attempts integer not null default 0, left_out integer not null default 0,
    primary key (rollout, box)
) without rowid;
create index if not exists members_by_box on members (box, state);

create table if not exists figures (name text primary key, count integer not null) without rowid;
"""
