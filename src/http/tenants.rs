//! `/tenants`: the operator's door.
