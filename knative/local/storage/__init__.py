"""PersistentVolumeClaims as directories of the home. What mounts them is `processes/volumes.py`."""
