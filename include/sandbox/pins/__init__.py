"""Luigi's Box's pin customizations: scopes that are created, replaced, deleted, listed, exported, and sent in bulk."""
