//! Numbers on the wire that have names.

/// Makes an enumeration out of a table: the name, the number on the wire, the name in the protocol document.
macro_rules! codes {
    ($(#[$meta:meta])* $name:ident, else $(#[$else_meta:meta])* $unknown:ident;
     $($(#[$doc:meta])* $variant:ident = $code:literal $text:literal,)*) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum $name { $($(#[$doc])* $variant = $code,)* }

        impl $name {
            /// All of them, in the order of `index`.
            pub const ALL: [$name; [$($code),*].len()] = [$($name::$variant),*];

            /// The number on the wire.
            #[inline]
            #[must_use]
            pub const fn code(self) -> u16 {
                self as u16
            }

            /// The place in `ALL`, for tables of counters.
            #[inline]
            #[must_use]
            pub const fn index(self) -> usize {
                enum Place { $($variant,)* }
                match self { $($name::$variant => Place::$variant as usize,)* }
            }

            /// The name in the protocol document.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
        $(#[$else_meta])*
        pub struct $unknown(pub u16);

        impl TryFrom<u16> for $name {
            type Error = $unknown;

            #[inline]
            fn try_from(code: u16) -> Result<$name, $unknown> {
                match code {
                    $($code => Ok($name::$variant),)*
                    other => Err($unknown(other)),
                }
            }
        }
    };
}
pub(super) use codes;
