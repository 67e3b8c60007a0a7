"""The configured newsletter batches: one YAML file each, and the models that check them."""
