"""Journeys from what people have: an OpenAPI document, a recording of a browser, an access log.

| Open | to find out |
|---|---|
| `source` | which kind of file it is |
| `openapi`, `openapi_document` | how operations become journeys |
| `examples` | what is sent where a schema is all there is |
| `har` | how a recording becomes a journey |
| `captures` | which of its values come from responses |
| `access_log` | how a log becomes weighted visits |
| `toml` | how journeys are written into a scenario file |

A draft is meant to be read and trimmed by a person. So each reader also says what it left out.
"""
