"""What an administrator sets for all Services: Knative's ConfigMaps of namespace `knative-serving`, read live."""
