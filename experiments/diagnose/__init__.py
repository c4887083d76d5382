"""Why a policy fails: its episodes, what it sees, what exploration offers, what its gradients say."""
