//! PostgreSQL's types, as far as their values have a form in JSON.

use sqlx::TypeInfo as _;
use sqlx::postgres::{PgTypeInfo, PgTypeKind};

/// How a value's binary form is read. Domains are their base type; enums, `citext` and `xml` are text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Numeric,
    Text,
    /// `"char"`: one byte.
    Char,
    Bytea,
    Uuid,
    Date,
    Time,
    Timetz,
    Timestamp,
    Timestamptz,
    Interval,
    Json,
    Jsonb,
    Inet,
    Macaddr,
    Array(Box<Kind>),
}

impl Kind {
    /// The kind of a type; `None` where its values have no form in JSON here.
    pub(super) fn of(ty: &PgTypeInfo) -> Option<Self> {
        if let Some(kind) = ty.oid().and_then(|oid| Self::of_builtin(oid.0)) {
            return Some(kind);
        }
        match ty.kind() {
            // These two are arrays within the catalogues only: their JSON form is a text.
            PgTypeKind::Array(_)
                if matches!(ty.oid().map(|oid| oid.0), Some(INT2VECTOR | OIDVECTOR)) =>
            {
                None
            }
            PgTypeKind::Array(element) => Some(Self::Array(Box::new(Self::of(element)?))),
            PgTypeKind::Domain(base) => Self::of(base),
            PgTypeKind::Enum(_) => Some(Self::Text),
            PgTypeKind::Simple if is_citext(ty) => Some(Self::Text),
            _ => None,
        }
    }

    /// By the object identifiers of `pg_type.dat`, which never change.
    fn of_builtin(oid: u32) -> Option<Self> {
        Some(match oid {
            16 => Self::Bool,
            17 => Self::Bytea,
            18 => Self::Char,
            19 | 25 | 705 | 1042 | 1043 => Self::Text,
            20 => Self::Int8,
            21 => Self::Int2,
            23 => Self::Int4,
            26 => Self::Oid,
            114 => Self::Json,
            XML => Self::Text,
            650 | 869 => Self::Inet,
            700 => Self::Float4,
            701 => Self::Float8,
            MACADDR8 | 829 => Self::Macaddr,
            1082 => Self::Date,
            1083 => Self::Time,
            1114 => Self::Timestamp,
            1184 => Self::Timestamptz,
            1186 => Self::Interval,
            1266 => Self::Timetz,
            1700 => Self::Numeric,
            2950 => Self::Uuid,
            3802 => Self::Jsonb,
            _ => return None,
        })
    }
}

const INT2VECTOR: u32 = 22;
const OIDVECTOR: u32 = 30;
const XML: u32 = 142;
const MACADDR8: u32 = 774;
/// `bpchar`: text that is padded with spaces.
pub(super) const BPCHAR: u32 = 1042;

/// Whether a type is the extension's text that is compared without regard to case.
pub(super) fn is_citext(ty: &PgTypeInfo) -> bool {
    let name = ty.name();
    name == "citext" || name.ends_with(".citext")
}

/// How many times the driver may ask the catalogues, one query each time, until it knows this type: once for every
/// level of a type that is not built in. An upper bound: what a connection knows it does not ask again.
pub(super) fn lookups(ty: &PgTypeInfo) -> u32 {
    let known_to_driver =
        |oid: u32| Kind::of_builtin(oid).is_some() && !matches!(oid, XML | MACADDR8);
    if ty.oid().is_some_and(|oid| known_to_driver(oid.0)) {
        return 0;
    }
    let below = match ty.kind() {
        PgTypeKind::Array(inner) | PgTypeKind::Domain(inner) | PgTypeKind::Range(inner) => {
            lookups(inner)
        }
        PgTypeKind::Composite(members) => members
            .iter()
            .map(|(_, member)| lookups(member))
            .max()
            .unwrap_or(0),
        PgTypeKind::Simple | PgTypeKind::Pseudo | PgTypeKind::Enum(_) => 0,
    };
    // Arrays of types that it knows are known to it too, or else cost one look-up more than counted below.
    below + u32::from(!is_builtin_array(ty))
}

/// Whether this is an array type that the driver knows: one of a builtin element, and builtin itself.
fn is_builtin_array(ty: &PgTypeInfo) -> bool {
    /// The first identifier that a database gives to its own types.
    const FIRST_OF_DATABASE: u32 = 16_384;
    let builtin = ty.oid().is_some_and(|oid| oid.0 < FIRST_OF_DATABASE);
    builtin && matches!(ty.kind(), PgTypeKind::Array(inner) if lookups(inner) == 0)
}
