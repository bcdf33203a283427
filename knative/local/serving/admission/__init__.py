"""What Knative's webhooks do: defaults, and what they refuse, in their words. What this host lacks is named too."""
