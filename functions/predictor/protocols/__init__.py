"""V1, the Open Inference Protocol and CloudEvents: requests read into arrays, arrays written as answers."""
