namespace Agency.Cli;

/// <summary>
/// Countries as shops write them. The program runs without culture data, so the English names of ISO 3166-1 stand here,
/// with the other names in common use after a bar.
/// </summary>
internal static class Countries
{
    private const string Names =
        """
        AF Afghanistan
        AX Åland Islands|Aland Islands
        AL Albania
        DZ Algeria
        AS American Samoa
        AD Andorra
        AO Angola
        AI Anguilla
        AQ Antarctica
        AG Antigua and Barbuda
        AR Argentina
        AM Armenia
        AW Aruba
        AU Australia
        AT Austria
        AZ Azerbaijan
        BS Bahamas|The Bahamas
        BH Bahrain
        BD Bangladesh
        BB Barbados
        BY Belarus
        BE Belgium
        BZ Belize
        BJ Benin
        BM Bermuda
        BT Bhutan
        BO Bolivia|Plurinational State of Bolivia
        BQ Bonaire, Sint Eustatius and Saba|Caribbean Netherlands
        BA Bosnia and Herzegovina|Bosnia
        BW Botswana
        BV Bouvet Island
        BR Brazil
        IO British Indian Ocean Territory
        BN Brunei Darussalam|Brunei
        BG Bulgaria
        BF Burkina Faso
        BI Burundi
        CV Cabo Verde|Cape Verde
        KH Cambodia
        CM Cameroon
        CA Canada
        KY Cayman Islands
        CF Central African Republic
        TD Chad
        CL Chile
        CN China|People's Republic of China|PRC
        CX Christmas Island
        CC Cocos (Keeling) Islands|Cocos Islands
        CO Colombia
        KM Comoros
        CG Congo|Republic of the Congo
        CD Democratic Republic of the Congo|Congo, Democratic Republic of the|DR Congo|DRC
        CK Cook Islands
        CR Costa Rica
        CI Côte d'Ivoire|Cote d'Ivoire|Ivory Coast
        HR Croatia
        CU Cuba
        CW Curaçao|Curacao
        CY Cyprus
        CZ Czechia|Czech Republic
        DK Denmark
        DJ Djibouti
        DM Dominica
        DO Dominican Republic
        EC Ecuador
        EG Egypt
        SV El Salvador
        GQ Equatorial Guinea
        ER Eritrea
        EE Estonia
        SZ Eswatini|Swaziland
        ET Ethiopia
        FK Falkland Islands|Falkland Islands (Malvinas)
        FO Faroe Islands
        FJ Fiji
        FI Finland
        FR France
        GF French Guiana
        PF French Polynesia
        TF French Southern Territories
        GA Gabon
        GM Gambia|The Gambia
        GE Georgia
        DE Germany
        GH Ghana
        GI Gibraltar
        GR Greece
        GL Greenland
        GD Grenada
        GP Guadeloupe
        GU Guam
        GT Guatemala
        GG Guernsey
        GN Guinea
        GW Guinea-Bissau
        GY Guyana
        HT Haiti
        HM Heard Island and McDonald Islands
        VA Holy See|Vatican City|Vatican
        HN Honduras
        HK Hong Kong
        HU Hungary
        IS Iceland
        IN India
        ID Indonesia
        IR Iran|Islamic Republic of Iran
        IQ Iraq
        IE Ireland|EIRE|Republic of Ireland
        IM Isle of Man
        IL Israel
        IT Italy
        JM Jamaica
        JP Japan
        JE Jersey
        JO Jordan
        KZ Kazakhstan
        KE Kenya
        KI Kiribati
        KP North Korea|Democratic People's Republic of Korea
        KR South Korea|Republic of Korea|Korea
        KW Kuwait
        KG Kyrgyzstan
        LA Laos|Lao People's Democratic Republic
        LV Latvia
        LB Lebanon
        LS Lesotho
        LR Liberia
        LY Libya
        LI Liechtenstein
        LT Lithuania
        LU Luxembourg
        MO Macao|Macau
        MG Madagascar
        MW Malawi
        MY Malaysia
        MV Maldives
        ML Mali
        MT Malta
        MH Marshall Islands
        MQ Martinique
        MR Mauritania
        MU Mauritius
        YT Mayotte
        MX Mexico
        FM Micronesia|Federated States of Micronesia
        MD Moldova|Republic of Moldova
        MC Monaco
        MN Mongolia
        ME Montenegro
        MS Montserrat
        MA Morocco
        MZ Mozambique
        MM Myanmar|Burma
        NA Namibia
        NR Nauru
        NP Nepal
        NL Netherlands|The Netherlands|Holland
        NC New Caledonia
        NZ New Zealand
        NI Nicaragua
        NE Niger
        NG Nigeria
        NU Niue
        NF Norfolk Island
        MK North Macedonia|Macedonia
        MP Northern Mariana Islands
        NO Norway
        OM Oman
        PK Pakistan
        PW Palau
        PS Palestine|State of Palestine
        PA Panama
        PG Papua New Guinea
        PY Paraguay
        PE Peru
        PH Philippines|The Philippines
        PN Pitcairn
        PL Poland
        PT Portugal
        PR Puerto Rico
        QA Qatar
        RE Réunion|Reunion
        RO Romania
        RU Russia|Russian Federation
        RW Rwanda
        BL Saint Barthélemy|Saint Barthelemy
        SH Saint Helena, Ascension and Tristan da Cunha|Saint Helena
        KN Saint Kitts and Nevis
        LC Saint Lucia
        MF Saint Martin
        PM Saint Pierre and Miquelon
        VC Saint Vincent and the Grenadines
        WS Samoa
        SM San Marino
        ST Sao Tome and Principe
        SA Saudi Arabia
        SN Senegal
        RS Serbia
        SC Seychelles
        SL Sierra Leone
        SG Singapore
        SX Sint Maarten
        SK Slovakia|Slovak Republic
        SI Slovenia
        SB Solomon Islands
        SO Somalia
        ZA South Africa|RSA|Republic of South Africa
        GS South Georgia and the South Sandwich Islands
        SS South Sudan
        ES Spain
        LK Sri Lanka
        SD Sudan
        SR Suriname
        SJ Svalbard and Jan Mayen
        SE Sweden
        CH Switzerland
        SY Syria|Syrian Arab Republic
        TW Taiwan
        TJ Tajikistan
        TZ Tanzania|United Republic of Tanzania
        TH Thailand
        TL Timor-Leste|East Timor
        TG Togo
        TK Tokelau
        TO Tonga
        TT Trinidad and Tobago
        TN Tunisia
        TR Türkiye|Turkiye|Turkey
        TM Turkmenistan
        TC Turks and Caicos Islands
        TV Tuvalu
        UG Uganda
        UA Ukraine
        AE United Arab Emirates|UAE
        GB United Kingdom|UK|Great Britain|England|Scotland|Wales|Northern Ireland|Britain
        US United States|USA|United States of America
        UM United States Minor Outlying Islands
        UY Uruguay
        UZ Uzbekistan
        VU Vanuatu
        VE Venezuela
        VN Vietnam
        VG British Virgin Islands|Virgin Islands (British)
        VI U.S. Virgin Islands|Virgin Islands (U.S.)
        WF Wallis and Futuna
        EH Western Sahara
        YE Yemen
        ZM Zambia
        ZW Zimbabwe
        """;

    private static readonly Dictionary<string, string> Codes = Read();

    /// <summary>The ISO 3166 alpha-2 code of a country's name or of a code itself; null for what is no single country (Channel Islands, Unspecified).</summary>
    public static string? Find(string text) => Codes.GetValueOrDefault(Plain(text));

    private static Dictionary<string, string> Read()
    {
        var codes = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var line in Names.Split('\n', StringSplitOptions.TrimEntries))
            foreach (var name in line[3..].Split('|').Append(line[..2]))
                codes.Add(Plain(name), line[..2]);
        return codes;
    }

    /// <summary>Letters only, so that case, dots and spaces make no difference.</summary>
    private static string Plain(string name) => string.Concat(name.Where(char.IsLetter)).ToUpperInvariant();
}
