"""batch/v1: Jobs as process groups (pods in turn or side by side, retries, deadlines, clean-up) and CronJobs."""
