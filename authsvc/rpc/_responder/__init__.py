"""Who answers: from the subscription to the handler and back."""
