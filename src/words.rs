//! Enums whose cases are words: the same word in JSON, in a text column and in the code's tables.

/// Declares such an enum, with its JSON form, its OpenAPI schema and its PostgreSQL form (`text`, also in arrays). The word is the case
/// in `snake_case`; it is written out to be found.
#[macro_export]
macro_rules! words {
    ($(#[$about:meta])* pub enum $name:ident { $($(#[$doc:meta])* $case:ident = $word:literal),* $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$doc])* $case),*
        }

        impl $name {
            /// The word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$case => $word),* }
            }
        }

        impl sqlx::Type<sqlx::Postgres> for $name {
            fn type_info() -> sqlx::postgres::PgTypeInfo {
                <str as sqlx::Type<sqlx::Postgres>>::type_info()
            }

            fn compatible(ty: &sqlx::postgres::PgTypeInfo) -> bool {
                <str as sqlx::Type<sqlx::Postgres>>::compatible(ty)
            }
        }

        impl sqlx::postgres::PgHasArrayType for $name {
            fn array_type_info() -> sqlx::postgres::PgTypeInfo {
                <String as sqlx::postgres::PgHasArrayType>::array_type_info()
            }
        }

        impl<'r> sqlx::Decode<'r, sqlx::Postgres> for $name {
            fn decode(value: sqlx::postgres::PgValueRef<'r>) -> Result<Self, sqlx::error::BoxDynError> {
                match <&str as sqlx::Decode<sqlx::Postgres>>::decode(value)? {
                    $($word => Ok(Self::$case),)*
                    other => Err(format!("{other} is no {}", stringify!($name)).into()),
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    words! {
        /// An example.
        pub enum Example {
            /// One word.
            Ready = "ready",
            /// Two.
            LongestIdle = "longest_idle",
        }
    }

    #[test]
    fn json_schema_and_column_have_the_same_words() {
        let schema = serde_json::to_value(<Example as utoipa::PartialSchema>::schema()).unwrap();
        for (n, case) in [Example::Ready, Example::LongestIdle].into_iter().enumerate() {
            assert_eq!(serde_json::to_value(case).unwrap(), case.as_str());
            assert_eq!(schema["enum"][n], case.as_str());
        }
    }
}
