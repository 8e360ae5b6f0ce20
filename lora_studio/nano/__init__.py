"""nova-nano: builds the tiny model set that ships with the package. Knows the model classes, no footage and no training."""
