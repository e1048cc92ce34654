using System.Security.Cryptography;
using Microsoft.IdentityModel.JsonWebTokens;
using Microsoft.IdentityModel.Tokens;

namespace Agency.Platform;

/// <summary>The issuer of a laptop and of tests: an ES256 key of its own, made at first use and kept in the home folder.</summary>
public sealed class LocalIssuer
{
    public const string Name = "urn:agency:local";
    public const string Audience = "agency";

    private LocalIssuer(ECDsaSecurityKey key) => Key = key;

    public ECDsaSecurityKey Key { get; }

    /// <exception cref="IOException">The key can be neither read nor made there.</exception>
    /// <exception cref="CryptographicException">The file holds no such key.</exception>
    public static LocalIssuer Open(string home)
    {
        var file = Path.Combine(home, "keys", "issuer.pem");
        if (!File.Exists(file))
            Create(file);
        var key = ECDsa.Create();
        key.ImportFromPem(File.ReadAllText(file));
        return new(new(key) { KeyId = Base64UrlEncoder.Encode(SHA256.HashData(key.ExportSubjectPublicKeyInfo()))[..16] });
    }

    /// <summary>A signed token.</summary>
    /// <param name="roles">Each stands for the scopes that <see cref="AuthOptions.Roles"/> gives it where the token is used.</param>
    public string Issue(string organisation, string subject, IReadOnlyList<string> scopes, TimeSpan lifetime, params IReadOnlyList<string> roles) =>
        new JsonWebTokenHandler().CreateToken(new SecurityTokenDescriptor
        {
            Issuer = Name,
            Audience = Audience,
            IssuedAt = DateTime.UtcNow,
            NotBefore = DateTime.UtcNow,
            Expires = DateTime.UtcNow + lifetime,
            Claims = new Dictionary<string, object>
            {
                ["sub"] = subject,
                ["org_id"] = organisation,
                ["scope"] = string.Join(' ', scopes),
                ["roles"] = roles.ToArray(),
            },
            SigningCredentials = new(Key, SecurityAlgorithms.EcdsaSha256),
        });

    private static void Create(string file)
    {
        var folder = Path.GetDirectoryName(file)!;
        if (OperatingSystem.IsWindows())
            Directory.CreateDirectory(folder);
        else
            Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var mine = file + "." + Guid.NewGuid().ToString("N");
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write };
        if (!OperatingSystem.IsWindows())
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        using (var writer = new StreamWriter(mine, options))
            writer.Write(key.ExportPkcs8PrivateKeyPem());
        try
        {
            // Whole or not at all, and the first of several processes wins.
            File.Move(mine, file, overwrite: false);
        }
        catch (IOException) when (File.Exists(file))
        {
            File.Delete(mine);
        }
    }
}
