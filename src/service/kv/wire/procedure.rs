//! The program, and its procedures.

/// The number of the program.
pub const KV_PROGRAM: u32 = 0x3123_0018;
/// Its one version.
pub const KV_VERSION: u32 = 1;

/// What a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum KvProcedure {
    /// Nothing: it shows that the server answers.
    Null = 0,
    /// The value of a key.
    Get = 1,
    /// Give a key a value.
    Put = 2,
    /// Take a key away.
    Delete = 3,
    /// Keys in their order.
    Scan = 4,
    /// What the server is, and how far it has got.
    Status = 5,
}

impl KvProcedure {
    /// All of them, by their numbers.
    pub const ALL: [KvProcedure; 6] = [
        KvProcedure::Null,
        KvProcedure::Get,
        KvProcedure::Put,
        KvProcedure::Delete,
        KvProcedure::Scan,
        KvProcedure::Status,
    ];

    /// The number in a call.
    #[must_use]
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The procedure of that number.
    #[must_use]
    pub fn of(code: u32) -> Option<KvProcedure> {
        KvProcedure::ALL.into_iter().find(|procedure| procedure.code() == code)
    }

    /// The place in `ALL`, for tables of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name in `docs/kv.x`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            KvProcedure::Null => "KV_NULL",
            KvProcedure::Get => "KV_GET",
            KvProcedure::Put => "KV_PUT",
            KvProcedure::Delete => "KV_DELETE",
            KvProcedure::Scan => "KV_SCAN",
            KvProcedure::Status => "KV_STATUS",
        }
    }
}

impl std::fmt::Display for KvProcedure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
