"""Pin customizations: rows and lines become validated scopes, and scopes are compared with what is there."""
