"""The schema's evolution, as yoyo migrations: one folder a release plan, each with its rollbacks.

`base` is what version A serves and comes first everywhere. Each of the others leads from there to
what version B needs; their ids are unique over all folders.

| Folder | Ids, in order |
|---|---|
| `base` | `base.0001.subscriptions` |
| `big_bang` | `big_bang.0001.status`, `big_bang.0002.tokens` |
| `with_default` | `with_default.0001.status`, `with_default.0002.tokens` |
| `expand_contract`, first half | `expand_contract.0001.status-nullable`, `.0002.tokens`, |
| | `.0003.tokens-foreign-key`, `.0004.tokens-foreign-key-valid` |
| `expand_contract`, second half | `.0005.backfill`, `.0006.status-check`, |
| | `.0007.status-check-valid`, `.0008.status-not-null`, `.0009.status-check-dropped` |
| `big_bang_locking`, after the first half | `big_bang_locking.0001.status-not-null` |

The safe plan: `expand_contract` through `expand_contract.0004.tokens-foreign-key-valid`; deploy
the bridge everywhere; the rest of `expand_contract`; deploy B.

`big_bang_locking` is the second half in one transaction, as it should not be done: under
confirmations it stalls them and dies of a deadlock (40P01).

Every other file that changes the schema waits at most 100 ms for its lock (`lock_timeout`) and then
fails with 55P03, since every request would queue up behind a waiting one: run it again. The
files say which locks they take. Only `0005.backfill` runs outside of one transaction; it commits
every thousand rows, and may be run again after it was killed.
"""
