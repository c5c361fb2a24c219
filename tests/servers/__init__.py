"""`make test-servers`: the product under real servers, by hand and outside `.ci/run`.

A package a family of servers: its `rows()` starts each server that it can have, runs tests against it, and says in a
row of the table what came of it, or why it could not have the server. pytest collects the test modules here only when
`run.run_pytest` runs it.
"""
