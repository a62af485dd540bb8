"""Downloads: fetch, resume, verify, cache."""
